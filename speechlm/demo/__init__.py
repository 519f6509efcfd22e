"""`speechlm demo`: a page to try a model on, with Gradio. Needs the extra `demo`."""
