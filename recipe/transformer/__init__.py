"""The masked transformer with its text encoder, its tokenizer, and the tokens it is trained on."""
