"""`speechlm serve`: the audio endpoints of OpenAI's HTTP interface, over the API of `speechlm.api`. Needs the extra
`serve`.
"""
