"""psycopg2: what a Python program does with it. Connection by PG* variables; one line of output per check."""
import io
import threading

import psycopg2
from psycopg2 import errors

connection = psycopg2.connect("")
cursor = connection.cursor()
cursor.execute("select 1 + 1")
print("simple", cursor.fetchone())
cursor.execute("select %s::int * 2, %s::text", (21, "grün 🌱"))
print("parameters", cursor.fetchone())
connection.rollback()
try:
    cursor.execute("select 1/0")
except errors.DivisionByZero as error:
    print("error", error.pgcode)
connection.rollback()
cursor.execute("create temp table t (n int, v text)")
cursor.copy_expert("copy t from stdin", io.StringIO("".join(f"{n}\tx{n}\n" for n in range(1000))))
out = io.StringIO()
cursor.copy_expert("copy t to stdout", out)
print("copy", len(out.getvalue().splitlines()))
connection.commit()
named = connection.cursor("server_side")
named.itersize = 100
named.execute("select n from t order by n")
print("cursor", sum(row[0] for row in named))
connection.commit()
threading.Timer(0.5, connection.cancel).start()
try:
    cursor.execute("select pg_sleep(30)")
except errors.QueryCanceled as error:
    print("cancel", error.pgcode)
connection.rollback()
cursor.execute("select count(*) from generate_series(1, 20000)")
print("after", cursor.fetchone())
