"""psycopg 3: prepared statements, pipeline mode, COPY, cancel. One line of output per check."""
import threading

import psycopg

with psycopg.connect("", autocommit=True) as connection:
    print("simple", connection.execute("select 1 + 1").fetchone())
    for _ in range(7):  # from the sixth time on it is a named prepared statement
        row = connection.execute("select %s::int * 2, %s::text", (21, "grün 🌱")).fetchone()
    print("parameters", row)
    for n in range(120):  # more statements than the cache holds: the oldest are deallocated by SQL
        for _ in range(6):
            connection.execute(f"select {n} + %s::int", (1,))
    print("many prepared", connection.execute("select count(*) <= 100 from pg_prepared_statements").fetchone())
    try:
        connection.execute("select 1/0")
    except psycopg.errors.DivisionByZero as error:
        print("error", error.sqlstate)
    with connection.transaction():
        connection.execute("create temp table t (n int, v text)")
        with connection.cursor().copy("copy t from stdin") as copy:
            for n in range(1000):
                copy.write_row((n, f"x{n}"))
    with connection.cursor().copy("copy t to stdout (format binary)") as copy:
        print("copy", sum(len(block) for block in copy))
    with connection.pipeline():
        cursors = [connection.execute("select %s::int", (n,)) for n in range(50)]
        print("pipeline", sum(cursor.fetchone()[0] for cursor in cursors))
    try:
        with connection.pipeline():
            connection.execute("insert into t values (5000, 'a')")
            connection.execute("select 1/0")
    except psycopg.errors.DivisionByZero as error:
        print("pipeline error", error.sqlstate)
    print("rolled back", connection.execute("select count(*) from t where n = 5000").fetchone())
    threading.Timer(0.5, connection.cancel).start()
    try:
        connection.execute("select pg_sleep(30)")
    except psycopg.errors.QueryCanceled as error:
        print("cancel", error.sqlstate)
    print("after", connection.execute("select 7").fetchone())
