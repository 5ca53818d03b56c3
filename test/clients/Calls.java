import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import okhttp3.OkHttpClient;
import okhttp3.Protocol;
import okhttp3.Request;
import okhttp3.RequestBody;

/**
 * Java's clients, named by the argument. A call is a line on standard input, with tabs between method, URL, body in
 * base64 and each header; standard output is a JSON array of the statuses.
 */
public class Calls {
  interface Caller {
    int status(String method, URI url, byte[] body, List<String[]> headers) throws Exception;
  }

  public static void main(String[] args) throws Exception {
    Caller caller = switch (args[0]) {
      case "HttpURLConnection" -> Calls::connection;
      case "HttpClient" -> httpClient(HttpClient.newHttpClient());
      case "HttpClient of HTTP/1.1" ->
          httpClient(HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build());
      case "OkHttp" -> okHttp(List.of(Protocol.HTTP_1_1));
      default -> okHttp(List.of(Protocol.H2_PRIOR_KNOWLEDGE));
    };
    List<Integer> statuses = new ArrayList<>();
    var input = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = input.readLine()) != null; ) {
      String[] call = line.split("\t", -1);
      List<String[]> headers = new ArrayList<>();
      for (int i = 3; i < call.length; i++) headers.add(call[i].split(": ", 2));
      byte[] body = Base64.getDecoder().decode(call[2]);
      statuses.add(caller.status(call[0], URI.create(call[1]), body, headers));
    }
    System.out.println(statuses);
    // Else idle connections of a pool keep it running.
    System.exit(0);
  }

  static int connection(String method, URI url, byte[] body, List<String[]> headers)
      throws Exception {
    var connection = (HttpURLConnection) url.toURL().openConnection();
    connection.setRequestMethod(method);
    for (String[] header : headers) connection.setRequestProperty(header[0], header[1]);
    if (!method.equals("GET")) {
      connection.setDoOutput(true);
      connection.getOutputStream().write(body);
    }
    return connection.getResponseCode();
  }

  static Caller httpClient(HttpClient client) {
    return (method, url, body, headers) -> {
      var publisher = HttpRequest.BodyPublishers.ofByteArray(body);
      var request = HttpRequest.newBuilder(url).method(method, publisher);
      for (String[] header : headers) request.header(header[0], header[1]);
      return client.send(request.build(), HttpResponse.BodyHandlers.discarding()).statusCode();
    };
  }

  static Caller okHttp(List<Protocol> protocols) {
    var client = new OkHttpClient.Builder().protocols(protocols).build();
    return (method, url, body, headers) -> {
      var content = method.equals("GET") ? null : RequestBody.create(body, null);
      var request = new Request.Builder().url(url.toURL()).method(method, content);
      for (String[] header : headers) request.header(header[0], header[1]);
      try (var response = client.newCall(request.build()).execute()) {
        return response.code();
      }
    };
  }
}
