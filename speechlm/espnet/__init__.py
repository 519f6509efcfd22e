"""The plug into ESPnet's trainer. `imports` is the one file that imports what takes seconds to start."""
