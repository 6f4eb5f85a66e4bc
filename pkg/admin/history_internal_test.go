// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/owners"
)

// pieces is a writer that knows how long the longest piece was.
type pieces struct {
	bytes.Buffer
	longest int
}

func (p *pieces) Write(b []byte) (int, error) {
	p.longest = max(p.longest, len(b))
	return p.Buffer.Write(b)
}

// TestAHistoryIsNeverTextAsAWhole has sockets that hundreds of workers share: as text that would be 18 MB.
func TestAHistoryIsNeverTextAsAWhole(t *testing.T) {
	var workers []owners.Process
	for i := range 200 {
		workers = append(workers, owners.Process{PID: i, Command: "[] <worker>", ContainerID: "c0ffee"})
	}
	for name, entries := range map[string]int{"none": 0, "one": 1, "many": 100} {
		t.Run(name, func(t *testing.T) {
			page := api.HistoryPage{History: "j", Since: time.Unix(1, 0).UTC(), Entries: []api.Entry{}, Last: 9, Missed: 3}
			for i := range entries {
				page.Entries = append(page.Entries, api.Entry{Seq: uint64(i), Outcome: api.Destroyed, Owners: workers})
			}
			var got, want bytes.Buffer
			var sent pieces
			if err := writeHistory(&sent, page); err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(page)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Indent(&want, text, "", " "); err != nil {
				t.Fatal(err)
			}
			if err := json.Indent(&got, sent.Bytes(), "", " "); err != nil {
				t.Fatal(err)
			}
			if got.String() != want.String()+"\n" {
				t.Errorf("(-want +got)\n%s", cmp.Diff(want.String(), got.String()))
			}
			if most := sendSize + 32<<10; sent.longest > most {
				t.Errorf("%d of %d bytes at once, more than %d", sent.longest, sent.Len(), most)
			}
		})
	}
}
