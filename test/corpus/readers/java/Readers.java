import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Properties;
import org.yaml.snakeyaml.LoaderOptions;
import org.yaml.snakeyaml.Yaml;
import org.yaml.snakeyaml.constructor.SafeConstructor;

/**
 * Answers for the Java readers. Every line of the input is the name of a reader, a space and a text in base64. Every line
 * of the output is "true" if the reader takes the text, "false" if it refuses.
 */
public class Readers {
  static void read(String reader, String text) throws IOException {
    switch (reader) {
      case "snakeyaml" -> {
        LoaderOptions options = new LoaderOptions();
        options.setAllowDuplicateKeys(false);
        options.setCodePointLimit(Integer.MAX_VALUE);
        for (Object document : new Yaml(new SafeConstructor(options)).loadAll(text)) {
          // Each step of the loop reads a document.
        }
      }
      case "java" -> new Properties().load(new StringReader(text));
      default -> {
        System.err.println("no such reader: " + reader);
        System.exit(2);
      }
    }
  }

  public static void main(String[] args) throws IOException {
    BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
    for (String line = input.readLine(); line != null; line = input.readLine()) {
      int space = line.indexOf(' ');
      String text = new String(Base64.getDecoder().decode(line.substring(space + 1)), StandardCharsets.UTF_8);
      boolean taken = true;
      try {
        read(line.substring(0, space), text);
      } catch (Throwable refusal) {
        // An overflow of the stack and a lack of memory are refusals too.
        taken = false;
      }
      System.out.println(taken);
      System.out.flush();
    }
  }
}
