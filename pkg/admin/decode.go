// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
)

// whole reads an answer into what into points to.
func whole(into any) func(*json.Decoder) error {
	return func(d *json.Decoder) error { return d.Decode(into) }
}

// readSockets reads a SocketList socket by socket, while the reaper looks at others. Names match as they do for
// encoding/json, whatever their case; a null where a list should be is an error.
func readSockets(d *json.Decoder, list *api.SocketList) error {
	if err := expect(d, json.Delim('{')); err != nil {
		return err
	}
	for d.More() {
		token, err := d.Token()
		name, _ := token.(string)
		switch {
		case err != nil:
		case strings.EqualFold(name, "sockets"):
			err = readList(d, list)
		case strings.EqualFold(name, "problems"):
			err = d.Decode(&list.Problems)
		default: // of a later version
			var skip json.RawMessage
			err = d.Decode(&skip)
		}
		if err != nil {
			return err
		}
	}
	return expect(d, json.Delim('}'))
}

func readList(d *json.Decoder, list *api.SocketList) error {
	if err := expect(d, json.Delim('[')); err != nil {
		return err
	}
	list.Sockets = []api.SocketView{}
	for d.More() {
		list.Sockets = append(list.Sockets, api.SocketView{})
		if err := d.Decode(&list.Sockets[len(list.Sockets)-1]); err != nil {
			return err
		}
	}
	return expect(d, json.Delim(']'))
}

// expect reads what has to come next.
func expect(d *json.Decoder, want json.Delim) error {
	got, err := d.Token()
	if err == nil && got != want {
		err = fmt.Errorf("there is %v where %v should be", got, want)
	}
	return err
}
