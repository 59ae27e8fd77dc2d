# SPDX-License-Identifier: Apache-2.0
"""asyncpg by itself: it speaks to the server without any C library."""
import asyncio
import os

import asyncpg


async def main():
    connection = await asyncpg.connect(host=os.environ["PGHOST"], user="postgres", database="postgres")
    print(await connection.fetchval("SELECT 42"))


asyncio.run(main())
