//! Bytes in, bytes out: safetensors, GGUF, PEFT adapters, Hugging Face folders.
