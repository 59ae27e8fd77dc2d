# SPDX-License-Identifier: Apache-2.0
"""Asyncio tasks and threads of a program that serves nobody, each with a handle that it leaves open."""
import asyncio
import gc
import sqlite3  # noqa: F401
import sys
import threading
import weakref

from owners_probe import keep, keep_native


class Work:
    async def returns(self):
        keep("returned")
        await asyncio.sleep(0)
        keep("returned, later")

    async def raises(self):
        keep("raised")
        raise ValueError("as it should")

    async def waits(self):
        keep("cancelled")
        await asyncio.sleep(60)

    async def opens_nothing(self):
        await asyncio.sleep(0)


async def child(name):
    keep(name)


async def owners():
    keep("main")
    work = Work()
    await asyncio.create_task(work.returns())
    await asyncio.gather(work.raises(), work.opens_nothing(), return_exceptions=True)
    waiting = asyncio.create_task(work.waits())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await asyncio.gather(*(child(f"child {number}") for number in range(2)))
    await asyncio.to_thread(keep, "thread of main")
    await asyncio.get_running_loop().run_in_executor(None, keep, "executor")
    thread = threading.Thread(target=keep, args=("thread",))
    thread.start()
    thread.join()
    keep_native("native on the loop's thread")


async def not_retrieved():
    keep("not retrieved")
    raise LookupError("nobody asks")


async def behaves():
    """What a program can tell about its tasks: prints the same with and without unclosed."""
    gc.collect()
    gc.disable()
    task = asyncio.create_task(child("weakly"))
    gone = weakref.ref(task)
    print(await task)
    del task
    await asyncio.sleep(0)
    print("gone without the collector:", gone() is None)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: print(context["message"]))
    task = asyncio.create_task(not_retrieved())
    await asyncio.sleep(0.01)
    print("done:", task.done(), type(task._exception).__name__)
    del task
    print("collected:", gc.collect())
    future = asyncio.create_task(asyncio.to_thread(len, [1, 2]), name="counting")
    print(await future, future.get_name(), future.get_coro().__qualname__, asyncio.iscoroutinefunction(asyncio.to_thread))
    try:
        await asyncio.to_thread(int, "x")
    except ValueError as error:
        frames, place = [], error.__traceback__
        while place:
            frames.append(place.tb_frame.f_code.co_name)
            place = place.tb_next
        print(error, frames if sys.version_info >= (3, 11) else "before that one function of ours is in it")


def places():
    """One thread after the other, and one task after the other: each is another place than those before."""
    context = sys.modules["_unclosed"].context
    found = []

    def note():
        found.append(context.place())

    async def note_in_task():
        note()

    async def tasks():
        for _ in range(20):
            await asyncio.create_task(note_in_task())

    for _ in range(20):
        thread = threading.Thread(target=note)
        thread.start()
        thread.join()
    asyncio.run(tasks())
    note()
    note()
    print(len(found), len(set(found)))


def never_finished():
    """The interpreter ends with a task that waits, whose loop nobody closed."""
    global loop, task
    loop = asyncio.new_event_loop()
    task = loop.create_task(Work().waits())
    loop.call_soon(loop.stop)
    loop.run_forever()


if sys.argv[1] in ("places", "never_finished"):
    globals()[sys.argv[1]]()
    sys.exit()
asyncio.run({"owners": owners, "behaves": behaves}[sys.argv[1]]())
