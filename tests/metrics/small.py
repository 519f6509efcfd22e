"""Networks of transformers' speech models, as small as they can be."""

WAV2VEC = {  # sizes of wav2vec 2.0, HuBERT and WavLM
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
