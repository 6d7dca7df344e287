"""Between text and tokens: tokenizer, chat templates, incremental detokenizing, stop strings. No torch."""
