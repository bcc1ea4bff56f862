"""The stream on the network: a page to watch, JSON, metrics and health, for `stream.py --serve`.

    stream's threads     a channel's thread           the server's thread (asyncio)
    Channel.publish ───▶ blend, JPEG once for all ──▶ Newest ──▶ each viewer at its own pace
                              │
                              └─▶ recording

Every arrow carries the newest picture alone, so nothing holds up what is on its left. Nothing is
encoded while nobody watches.
"""
