// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// object is a JSON object with its keys in their order, repeated ones included.
type object []field

type field struct {
	key string
	raw json.RawMessage
}

func (o object) has(key string) bool {
	for _, f := range o {
		if f.key == key {
			return true
		}
	}
	return false
}

// reader reads the value of one key.
type reader func(path string, raw json.RawMessage)

// object reads the keys of an object, which must match exactly: encoding/json would accept "Grace" for "grace".
func (c *collector) object(path string, raw []byte) (object, bool) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		c.addf(path, "want an object, got %s", describe(raw))
		return nil, false
	}
	var obj object
	for dec.More() {
		var f field
		tok, err := dec.Token()
		if err == nil {
			f.key, _ = tok.(string)
			err = dec.Decode(&f.raw)
		}
		if err != nil {
			c.addf(path, "not JSON: %s", err)
			return nil, false
		}
		obj = append(obj, f)
	}
	return obj, true
}

// each calls the reader of every key, or unknown if there is none. A repeated key is a problem, and its first value counts.
func (c *collector) each(path string, obj object, readers map[string]reader, unknown func(path string, f field)) {
	seen := map[string]bool{}
	for _, f := range obj {
		at := child(path, f.key)
		read, ours := readers[f.key]
		switch {
		case !ours:
			unknown(at, f)
		case seen[f.key]:
			c.addf(at, "given more than once")
		default:
			seen[f.key] = true
			read(at, f.raw)
		}
	}
}

// text reads a string; want describes it, with an example, in the problem of any other value.
func (c *collector) text(path string, raw json.RawMessage, want string) (string, bool) {
	var s string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		c.addf(path, "want %s, got %s", want, describe(raw))
		return "", false
	}
	return s, true
}

// list reads a list of at most a number of values. Of a longer one it returns the first, so that their problems are reported
// too.
func (c *collector) list(path string, raw json.RawMessage, want string, most int) ([]json.RawMessage, bool) {
	var values []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &values) != nil {
		c.addf(path, "want %s, got %s", want, describe(raw))
		return nil, false
	}
	if len(values) > most {
		c.addf(path, "%d entries, at most %d are allowed", len(values), most)
		values = values[:most]
	}
	return values, true
}

// describe returns the type of a JSON value in words, with a short value.
func describe(raw []byte) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return "nothing"
	}
	switch raw[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f', 'n':
		return string(raw[:min(len(raw), len("false"))])
	}
	if len(raw) > maxQuoted {
		return "a number"
	}
	return "the number " + string(raw)
}

func readWord[T ~uint8](c *collector, path string, raw json.RawMessage, w words, to *T) bool {
	text, ok := c.text(path, raw, w.example())
	if !ok {
		return false
	}
	v, err := parseWord[T](w, text, c.nearest)
	if err != nil {
		c.add(path, err)
		return false
	}
	*to = v
	return true
}

func readPatience(c *collector, path string, raw json.RawMessage, to *Patience) bool {
	want := patienceExample
	if seconds, ok := addUnit(string(raw)); ok {
		c.addf(path, "want %s; %s has no unit: write %s", want, raw, strconv.Quote(seconds))
		return false
	}
	text, ok := c.text(path, raw, want)
	if !ok {
		return false
	}
	v, err := parsePatience(text)
	if err != nil {
		c.add(path, err)
		return false
	}
	*to = v
	return true
}

// readInt reads a number from first to last; want describes it, with an example.
func readInt(c *collector, path string, raw json.RawMessage, want string, first, last int, to *int) bool {
	n, err := strconv.Atoi(string(raw))
	if err != nil {
		var text string
		if json.Unmarshal(raw, &text) == nil {
			if n, err := strconv.Atoi(text); err == nil {
				c.addf(path, "want %s, got a string: write %d", want, n)
				return false
			}
		}
		c.addf(path, "want %s, got %s", want, describe(raw))
		return false
	}
	if n < first || n > last {
		c.addf(path, "%d is not from %d to %d", n, first, last)
		return false
	}
	*to = n
	return true
}

func readBool(c *collector, path string, raw json.RawMessage, to *bool) bool {
	switch string(raw) {
	case "true":
		*to = true
	case "false":
		*to = false
	default:
		c.addf(path, "want true or false, got %s", describe(raw))
		return false
	}
	return true
}

// optional returns a reader of an optional value, which stays nil if read fails.
func optional[T any](to **T, read func(path string, raw json.RawMessage, to *T) bool) reader {
	return func(path string, raw json.RawMessage) {
		if v := new(T); read(path, raw, v) {
			*to = v
		}
	}
}

// marshalPlain is json.Marshal without escapes for HTML, which turn one byte into six.
func marshalPlain(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
