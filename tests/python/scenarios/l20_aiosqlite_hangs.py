# SPDX-License-Identifier: Apache-2.0
"""aiosqlite's thread waits for a close() that never comes: the program has returned from its main, and hangs."""
import asyncio

import aiosqlite

kept = []


async def main():
    connection = await aiosqlite.connect(":memory:")  # leak: hangs
    kept.append(connection)
    cursor = await connection.execute("SELECT 42")
    print(await cursor.fetchone(), flush=True)


asyncio.run(main())
print("the end of main", flush=True)
