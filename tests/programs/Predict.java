import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** Posts a body to a URL twice, with the default settings, and prints the statuses and the last answer. */
public class Predict {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        var request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofString(arguments[1]))
                .build();
        var first = client.send(request, BodyHandlers.ofString());
        var second = client.send(request, BodyHandlers.ofString());
        System.out.println(first.statusCode() + " " + second.statusCode() + " " + second.version());
        System.out.println(second.body());
    }
}
