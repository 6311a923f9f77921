<?php
/* PHP: PDO and the pgsql functions. One line of output per check. */
$host = getenv('PGHOST');
$port = getenv('PGPORT');
$db = getenv('PGDATABASE');
$pdo = new PDO("pgsql:host=$host;port=$port;dbname=$db", getenv('PGUSER'), getenv('PGPASSWORD'), [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
echo 'simple ', $pdo->query('select 1 + 1')->fetchColumn(), "\n";
$statement = $pdo->prepare('select :n::int * 2, :t::text');
for ($i = 0; $i < 3; $i++) {
    $statement->execute(['n' => 21, 't' => 'grün']);
    $row = $statement->fetch(PDO::FETCH_NUM);
}
echo 'parameters ', implode(',', $row), "\n";
try {
    $pdo->query('select 1/0');
} catch (PDOException $error) {
    echo 'error ', $error->getCode(), "\n";
}
$pdo->beginTransaction();
$pdo->exec('create temp table t (n int, v text)');
$pdo->pgsqlCopyFromArray('t', array_map(fn ($n) => "$n\tx$n", range(0, 999)));
echo 'copy ', count($pdo->pgsqlCopyToArray('t')), "\n";
$pdo->rollBack();
$link = pg_connect("host=$host port=$port dbname=$db user=" . getenv('PGUSER') . ' password=' . getenv('PGPASSWORD'));
pg_prepare($link, 'p', 'select $1::int + 1');
echo 'pg_execute ', pg_fetch_result(pg_execute($link, 'p', [41]), 0, 0), "\n";
pg_send_query($link, 'select pg_sleep(30)');
usleep(300000);
pg_cancel_query($link);
echo 'after ', pg_fetch_result(pg_query($link, 'select 7'), 0, 0), "\n";
