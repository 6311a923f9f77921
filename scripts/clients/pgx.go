// Go: pgx v4, native interface. One line of output per check.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	ctx := context.Background()
	connection, err := pgx.Connect(ctx, "sslmode=disable")
	check(err)
	var n int
	check(connection.QueryRow(ctx, "select 1 + 1").Scan(&n))
	fmt.Println("simple", n)
	var text string
	check(connection.QueryRow(ctx, "select $1::int * 2, $2::text", 21, "grün").Scan(&n, &text))
	fmt.Println("parameters", n, text)
	_, err = connection.Exec(ctx, "select 1/0")
	var failure *pgconn.PgError
	fmt.Println("error", errors.As(err, &failure), failure.Code)
	_, err = connection.Exec(ctx, "create temp table t (n int, v text)")
	check(err)
	rows := make([][]interface{}, 1000)
	for i := range rows {
		rows[i] = []interface{}{int32(i), fmt.Sprint("x", i)}
	}
	copied, err := connection.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"n", "v"}, pgx.CopyFromRows(rows))
	check(err)
	fmt.Println("copy", copied)
	batch := &pgx.Batch{}
	for i := 0; i < 50; i++ {
		batch.Queue("select $1::int", i)
	}
	results := connection.SendBatch(ctx, batch)
	sum := 0
	for i := 0; i < 50; i++ {
		check(results.QueryRow().Scan(&n))
		sum += n
	}
	check(results.Close())
	fmt.Println("batch", sum)
	limited, stop := context.WithTimeout(ctx, 500*time.Millisecond)
	defer stop()
	_, err = connection.Exec(limited, "select pg_sleep(30)")
	fmt.Println("cancel", err != nil)
}
