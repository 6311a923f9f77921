// Go: lib/pq through database/sql. One line of output per check.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/lib/pq"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	db, err := sql.Open("postgres", "sslmode=disable")
	check(err)
	defer db.Close()
	var n int
	check(db.QueryRow("select 1 + 1").Scan(&n))
	fmt.Println("simple", n)
	var text string
	check(db.QueryRow("select $1::int * 2, $2::text", 21, "grün").Scan(&n, &text))
	fmt.Println("parameters", n, text)
	_, err = db.Exec("select 1/0")
	fmt.Println("error", err.(*pq.Error).Code)
	tx, err := db.Begin()
	check(err)
	_, err = tx.Exec("create temp table t (n int, v text)")
	check(err)
	copyIn, err := tx.Prepare(pq.CopyIn("t", "n", "v"))
	check(err)
	for i := 0; i < 1000; i++ {
		_, err = copyIn.Exec(i, fmt.Sprint("x", i))
		check(err)
	}
	_, err = copyIn.Exec()
	check(err)
	check(copyIn.Close())
	check(tx.QueryRow("select count(*) from t").Scan(&n))
	fmt.Println("copy", n)
	check(tx.Rollback())
	ctx, stop := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer stop()
	_, err = db.ExecContext(ctx, "select pg_sleep(30)")
	fmt.Println("cancel", err != nil)
	check(db.QueryRow("select 7").Scan(&n))
	fmt.Println("after", n)
}
