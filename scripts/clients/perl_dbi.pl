# Perl: DBI with DBD::Pg. One line of output per check.
use strict;
use warnings;
use DBI;
binmode STDOUT, ':utf8';

my $dbh = DBI->connect("dbi:Pg:dbname=$ENV{PGDATABASE};host=$ENV{PGHOST};port=$ENV{PGPORT}", $ENV{PGUSER}, $ENV{PGPASSWORD},
    { RaiseError => 1, PrintError => 0, AutoCommit => 1 });
print 'simple ', $dbh->selectrow_array('select 1 + 1'), "\n";
my $statement = $dbh->prepare('select ?::int * 2');
for (1 .. 3) { $statement->execute(21) }
print 'parameters ', $statement->fetchrow_array, "\n";
eval { $dbh->do('select 1/0') };
print 'error ', $dbh->state, "\n";
$dbh->begin_work;
$dbh->do('create temp table t (n int, v text)');
$dbh->do('copy t from stdin');
$dbh->pg_putcopydata("$_\tx$_\n") for 0 .. 999;
$dbh->pg_putcopyend;
$dbh->do('copy t to stdout');
my ($rows, $line) = (0, '');
$rows++ while $dbh->pg_getcopydata($line) >= 0;
print "copy $rows\n";
$dbh->rollback;
print 'after ', $dbh->selectrow_array('select 7'), "\n";
$dbh->disconnect;
