/* Java: the PostgreSQL JDBC driver. One line of output per check. */
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;
import org.postgresql.PGConnection;

public class Jdbc {
    public static void main(String[] args) throws Exception {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        try (Connection connection = DriverManager.getConnection(url, properties)) {
            try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery("select 1 + 1")) {
                rows.next();
                System.out.println("simple " + rows.getInt(1));
            }
            try (PreparedStatement statement = connection.prepareStatement("select ?::int * 2, ?::text")) {
                String text = "";
                for (int i = 0; i < 8; i++) { // from the fifth time on it is a named prepared statement with binary results
                    statement.setInt(1, 21);
                    statement.setString(2, "gruen");
                    ResultSet rows = statement.executeQuery();
                    rows.next();
                    text = rows.getInt(1) + " " + rows.getString(2);
                }
                System.out.println("parameters " + text);
            }
            try (Statement statement = connection.createStatement()) {
                statement.executeQuery("select 1/0");
            } catch (SQLException error) {
                System.out.println("error " + error.getSQLState());
            }
            connection.setAutoCommit(false);
            try (Statement statement = connection.createStatement()) {
                statement.execute("create temp table t (n int, v text)");
                StringBuilder lines = new StringBuilder();
                for (int n = 0; n < 1000; n++) lines.append(n).append("\tx").append(n).append("\n");
                System.out.println("copy in " + connection.unwrap(PGConnection.class).getCopyAPI().copyIn("copy t from stdin", new StringReader(lines.toString())));
                System.out.println("copy out " + connection.unwrap(PGConnection.class).getCopyAPI().copyOut("copy t to stdout", new StringWriter()));
                statement.setFetchSize(50);
                ResultSet rows = statement.executeQuery("select n from t");
                int sum = 0;
                while (rows.next()) sum += rows.getInt(1);
                System.out.println("fetch size " + sum);
            }
            try (PreparedStatement batch = connection.prepareStatement("insert into t values (?, ?)")) {
                for (int n = 0; n < 300; n++) {
                    batch.setInt(1, n);
                    batch.setString(2, "b");
                    batch.addBatch();
                }
                System.out.println("batch " + batch.executeBatch().length);
            }
            connection.rollback();
            connection.setAutoCommit(true);
            Statement sleeping = connection.createStatement();
            new Thread(() -> {
                try {
                    Thread.sleep(500);
                    sleeping.cancel();
                } catch (Exception error) {
                    throw new IllegalStateException(error);
                }
            }).start();
            try {
                sleeping.execute("select pg_sleep(30)");
            } catch (SQLException error) {
                System.out.println("cancel " + error.getSQLState());
            }
            System.out.println("catalog " + connection.getMetaData().getTables(null, "public", "%", new String[] {"TABLE"}).next());
        }
    }
}
