"""The OpenAI interface over HTTP, on aiohttp."""
