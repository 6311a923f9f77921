"""asyncpg: binary protocol, prepared statements, cursors, COPY, time-outs. One line of output per check."""
import asyncio
import io

import asyncpg


async def main() -> None:
    connection = await asyncpg.connect()
    print("simple", await connection.fetchval("select 1 + 1"))
    print("parameters", tuple(await connection.fetchrow("select $1::int * 2, $2::text", 21, "grün 🌱")))
    try:
        await connection.execute("select 1/0")
    except asyncpg.DivisionByZeroError as error:
        print("error", error.sqlstate)
    await connection.execute("create temp table t (n int, v text)")
    await connection.copy_records_to_table("t", records=[(n, f"x{n}") for n in range(1000)])
    out = io.BytesIO()
    await connection.copy_from_query("select * from t", output=out, format="csv")
    print("copy", len(out.getvalue().splitlines()))
    async with connection.transaction():
        print("cursor", sum([row["n"] async for row in connection.cursor("select n from t", prefetch=50)]))
    await connection.executemany("insert into t values ($1, $2)", [(n, "y") for n in range(200)])
    print("many", await connection.fetchval("select count(*) from t"))
    try:
        await connection.execute("select pg_sleep(30)", timeout=0.5)
    except asyncio.TimeoutError:
        print("cancel", "timeout")
    print("after", await connection.fetchval("select 7"))
    heard: asyncio.Future = asyncio.get_running_loop().create_future()
    await connection.add_listener("news", lambda *event: heard.set_result(event[3]))
    await connection.execute("select pg_notify('news', 'hello')")
    print("notify", await heard)
    await connection.close()


asyncio.run(main())
