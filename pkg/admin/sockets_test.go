// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/api"
)

// TestAListThatIsBrokenOffSaysSo ends the reaper while it has sent some of its sockets, and the client reads no more.
func TestAListThatIsBrokenOffSaysSo(t *testing.T) {
	t.Parallel()
	const namespaces = 10 // more than fits into the buffers in between
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
	var list api.SocketList
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Sockets) == 0 || len(list.Sockets) >= len(whole.Sockets) {
		t.Errorf("%d sockets of %d", len(list.Sockets), len(whole.Sockets))
	}
	if diff := cmp.Diff([]string{"the list is not complete: the reaper is stopping"}, list.Problems); diff != "" {
		t.Errorf("problems (-want +got)\n%s", diff)
	}
}
