"""The plug into ESPnet's trainer. `imports` is the only file that imports modules that take seconds to load."""
