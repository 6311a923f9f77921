"""SQLAlchemy on psycopg2: engine start-up, reflection, ORM. One line of output per check."""
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, inspect, select

engine = create_engine("postgresql+psycopg2://")
with engine.begin() as connection:
    connection.exec_driver_sql("drop table if exists gate_clients_alchemy")
metadata = MetaData()
table = Table("gate_clients_alchemy", metadata, Column("id", Integer, primary_key=True), Column("name", String(40)))
metadata.create_all(engine)
with engine.begin() as connection:
    connection.execute(table.insert(), [{"id": n, "name": f"n{n}"} for n in range(100)])
    print("rows", len(connection.execute(select(table)).all()))
inspector = inspect(engine)
print("reflection", [column["name"] for column in inspector.get_columns("gate_clients_alchemy")])
print("keys", inspector.get_pk_constraint("gate_clients_alchemy")["constrained_columns"])
metadata.drop_all(engine)
print("dropped", "gate_clients_alchemy" in inspect(engine).get_table_names())
