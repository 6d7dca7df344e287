"""The step loop in a process of its own, and the asyncio side that talks to it."""
