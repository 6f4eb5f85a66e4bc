// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// The bounds of an answer, in bytes. Each protects this process from a node with a wrong or hostile program.
const (
	MaxItem = 1 << 20  // one element of the list
	MaxRest = 16 << 20 // all other values
)

// ReadObject reads a JSON object. It calls item with each element of the list named list, and returns the other values. It keeps
// one element in memory at a time.
func ReadObject(r io.Reader, list string, item func(json.RawMessage) error) (map[string]json.RawMessage, error) {
	limited := &allowance{r: r}
	dec := json.NewDecoder(limited)
	rest := make(map[string]json.RawMessage)
	size := 0
	limited.left = MaxItem
	if err := expect(dec, json.Delim('{')); err != nil {
		return nil, err
	}
	for dec.More() {
		key, err := dec.Token() // a key: the decoder checks that it is text
		if err != nil {
			return nil, unexpected(err)
		}
		if key == list && list != "" {
			if err := readList(dec, limited, item); err != nil {
				return nil, err
			}
			continue
		}
		var value json.RawMessage
		limited.left = MaxRest - size
		if err := dec.Decode(&value); err != nil {
			return nil, unexpected(err)
		}
		if size += len(value); size > MaxRest {
			return nil, errTooLong
		}
		rest[key.(string)] = value
		limited.left = MaxItem
	}
	if err := expect(dec, json.Delim('}')); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON object")
	}
	return rest, nil
}

// readList reads an array, or null.
func readList(dec *json.Decoder, limited *allowance, item func(json.RawMessage) error) error {
	limited.left = MaxItem
	start, err := dec.Token()
	if err != nil {
		return unexpected(err)
	}
	switch start {
	case nil:
		return nil
	case json.Delim('['):
	default:
		return fmt.Errorf("not an array: %.20v", start)
	}
	for dec.More() {
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return unexpected(err)
		}
		limited.left = MaxItem
		var compact bytes.Buffer // without the indentation
		if err := json.Compact(&compact, value); err != nil {
			return err
		}
		if err := item(compact.Bytes()); err != nil {
			return err
		}
	}
	return expect(dec, json.Delim(']'))
}

// expect reads a delimiter.
func expect(dec *json.Decoder, want json.Delim) error {
	got, err := dec.Token()
	if err != nil {
		return unexpected(err)
	}
	if got != want {
		return fmt.Errorf("not JSON as halfclose prints it: %.20v in place of %v", got, want)
	}
	return nil
}

// unexpected returns an error with the reason why the output ends too early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read JSON: %w", err)
}

// errTooLong is the error of an answer with a value beyond the bounds.
var errTooLong = fmt.Errorf("a value is longer than the limit (%d bytes for an element, %d for the others)", MaxItem, MaxRest)

// allowance reads at most left bytes until left is set again.
type allowance struct {
	r    io.Reader
	left int
}

// Read implements io.Reader.
func (a *allowance) Read(b []byte) (int, error) {
	if a.left <= 0 {
		return 0, errTooLong
	}
	n, err := a.r.Read(b[:min(len(b), a.left)])
	a.left -= n
	return n, err
}
