"""The real corpora, one file each: from the published layout to Kaldi directories. `sets.py` is what they share."""
