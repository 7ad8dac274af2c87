// Answers for the Go readers. Every line of the input is the name of a reader, a space and a text in base64. Every line of
// the output is "true" if the reader takes the text, "false" if it refuses.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"
)

func takes(reader string, text string) (taken bool) {
	defer func() {
		if recover() != nil {
			taken = false
		}
	}()
	switch reader {
	case "go-yaml":
		decoder := yaml.NewDecoder(strings.NewReader(text))
		for {
			var document any
			err := decoder.Decode(&document)
			if errors.Is(err, io.EOF) {
				return true
			}
			if err != nil {
				return false
			}
		}
	case "go":
		var value any
		return json.Unmarshal([]byte(text), &value) == nil
	case "burntsushi":
		var table map[string]any
		_, err := toml.Decode(text, &table)
		return err == nil
	}
	fmt.Fprintln(os.Stderr, "no such reader:", reader)
	os.Exit(2)
	return false
}

func main() {
	debug.SetMemoryLimit(1 << 30)
	input := bufio.NewReader(os.Stdin)
	for {
		line, err := input.ReadString('\n')
		if err != nil {
			return
		}
		reader, encoded, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		text, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		fmt.Println(takes(reader, string(text)))
	}
}
