// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// maxBody bounds the body of a request in bytes.
const maxBody = 16 << 10

// decodeBody reads the one JSON object of a request's body. Keys that are unknown or repeated are an error: another parser,
// such as a proxy's, could choose another of their values. want describes the object, for errors.
func decodeBody(body io.Reader, to any, want string) error {
	data, err := io.ReadAll(body)
	if long, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return statusError{http.StatusRequestEntityTooLarge, fmt.Sprintf("%s, of at most %d bytes", want, long.Limit)}
	}
	if err == nil {
		err = decodeStrictly(data, to)
	}
	if err != nil {
		return badRequest(want + ": " + err.Error())
	}
	return nil
}

func decodeStrictly(data []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(to); err != nil {
		return err
	}
	if _, more := dec.Token(); !errors.Is(more, io.EOF) {
		return errors.New("unexpected data after the object")
	}
	return refuseRepeatedKeys(data)
}

// refuseRepeatedKeys returns an error if a valid object has a key twice. Upper and lower case are the same to encoding/json.
func refuseRepeatedKeys(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return err // null
	}
	var seen []string
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		if slices.ContainsFunc(seen, func(other string) bool { return strings.EqualFold(other, key) }) {
			return fmt.Errorf("key %.80q is given more than once", key)
		}
		seen = append(seen, key)
		if err := dec.Decode(new(json.RawMessage)); err != nil {
			return err
		}
	}
	return nil
}
