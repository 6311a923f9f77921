# Ruby: the pg gem. One line of output per check.
require 'pg'

connection = PG.connect
puts "simple #{connection.exec('select 1 + 1').getvalue(0, 0)}"
puts "parameters #{connection.exec_params('select $1::int * 2, $2::text', [21, 'grün']).values}"
connection.prepare('p', 'select $1::int + 1')
puts "prepared #{connection.exec_prepared('p', [41]).getvalue(0, 0)}"
begin
  connection.exec('select 1/0')
rescue PG::DivisionByZero => e
  puts "error #{e.result.error_field(PG::PG_DIAG_SQLSTATE)}"
end
connection.exec('create temp table t (n int, v text)')
connection.copy_data('copy t from stdin') { 1000.times { |n| connection.put_copy_data("#{n}\tx#{n}\n") } }
rows = 0
connection.copy_data('copy t to stdout') { rows += 1 while connection.get_copy_data }
puts "copy #{rows}"
connection.send_query('select n from t')
connection.set_single_row_mode
rows = 0
while (result = connection.get_result)
  rows += result.ntuples
end
puts "single row mode #{rows}"
connection.send_query('select pg_sleep(30)')
sleep 0.3
connection.cancel
begin
  connection.get_last_result
rescue PG::QueryCanceled => e
  puts "cancel #{e.result.error_field(PG::PG_DIAG_SQLSTATE)}"
end
puts "after #{connection.exec('select 7').getvalue(0, 0)}"
