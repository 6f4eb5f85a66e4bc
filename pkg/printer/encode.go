// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// printJSON prints v as indented JSON.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(printable{w: w})
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printYAML prints v as YAML, with the keys of its JSON in the same order.
func printYAML(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	node, err := yamlNode(dec)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	enc := yaml.NewEncoder(&text)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(node), enc.Close()); err != nil {
		return err
	}
	_, err = printable{w, true}.Write(text.Bytes())
	return err
}

// yamlNode reads the next JSON value. Text with non-printing characters is quoted, so that they can be escaped.
func yamlNode(dec *json.Decoder) (*yaml.Node, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode}
	switch token := token.(type) {
	case json.Delim:
		if n.Kind = yaml.SequenceNode; token == '{' {
			n.Kind = yaml.MappingNode
		}
		for dec.More() { // an object's keys are tokens like its values
			child, err := yamlNode(dec)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err = dec.Token() // the end
	case string:
		n.SetString(token)
		if strings.ContainsFunc(token, func(r rune) bool { return !strconv.IsPrint(r) }) {
			n.Style = yaml.DoubleQuotedStyle
		}
	case json.Number:
		n.Value = token.String()
	default: // bool or nil
		err = n.Encode(token)
	}
	return n, err
}

// printable escapes non-printing characters in JSON: people read it on terminals too, and names come from pods. Outside of
// strings JSON is ASCII. The same escapes serve YAML, in quoted text, apart from those beyond 16 bits.
type printable struct {
	w    io.Writer
	yaml bool
}

// Write implements io.Writer. It must not be called with part of a rune; encoding/json does not.
func (p printable) Write(b []byte) (int, error) {
	from := 0
	for i := 0; i < len(b); {
		r, n := rune(b[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRune(b[i:])
		}
		if r >= 0x7f && !strconv.IsPrint(r) {
			if _, err := p.w.Write(b[from:i]); err != nil {
				return from, err
			}
			escape := fmt.Appendf(nil, `\u%04x`, r)
			if hi, lo := utf16.EncodeRune(r); hi != unicode.ReplacementChar && p.yaml {
				escape = fmt.Appendf(nil, `\U%08x`, r)
			} else if hi != unicode.ReplacementChar {
				escape = fmt.Appendf(nil, `\u%04x\u%04x`, hi, lo)
			}
			if _, err := p.w.Write(escape); err != nil {
				return i, err
			}
			from = i + n
		}
		i += n
	}
	if _, err := p.w.Write(b[from:]); err != nil {
		return from, err
	}
	return len(b), nil
}
