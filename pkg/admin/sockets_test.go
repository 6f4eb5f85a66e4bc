// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/api"
)

// TestTheLastLineOfAnIncompleteListHasTheReason stops the reaper after it has sent a part of its sockets, while the client does not read.
func TestTheLastLineOfAnIncompleteListHasTheReason(t *testing.T) {
	t.Parallel()
	const namespaces = 10 // more than the buffers hold
	n := crowdedNode(t, namespaces)
	whole, err := n.Sockets(t.Context(), api.SocketQuery{})
	if err != nil || len(whole.Sockets) != namespaces*crowdSockets || len(whole.Problems) != 0 {
		t.Fatalf("%d sockets, %v, %v", len(whole.Sockets), whole.Problems, err)
	}
	resp, err := n.unix.Get("http://reaper/v1/sockets")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n.end()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	lines := bytes.SplitAfter(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if sockets := len(lines) - 1; sockets == 0 || sockets >= len(whole.Sockets) {
		t.Errorf("%d sockets of %d", sockets, len(whole.Sockets))
	}
	for _, line := range lines[:len(lines)-1] {
		var v api.SocketView
		if err := json.Unmarshal(line, &v); err != nil || v.Local == "" {
			t.Fatalf("%v: %s", err, line)
		}
	}
	var end api.SocketsEnd
	if err := json.Unmarshal(lines[len(lines)-1], &end); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(api.SocketsEnd{Problems: []string{"the list is not complete: the reaper is stopping"}}, end); diff != "" {
		t.Errorf("the last line (-want +got)\n%s", diff)
	}
}
