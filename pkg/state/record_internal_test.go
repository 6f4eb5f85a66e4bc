// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
)

func FuzzDecode(f *testing.F) {
	good, err := encode(Record{
		Attachment: Attachment{ContainerID: "c", IfName: "eth0"},
		Network:    "pods",
		Boot:       "6e1f",
		Netns:      Netns{Path: "/run/netns/a", Identity: netns.Identity{Cookie: 1, Dev: 4, Inode: 2}},
		Layers:     policy.Layers{Annotations: map[string]string{policy.AnnotationMode: "observe"}},
		Time:       time.Unix(0, 0).UTC(),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(`{"version":2,"boot":"6e1f"}`))
	f.Add([]byte(`{"boot":{"boot":"x"},"boot":1`))
	const name = "c@eth0:1-2.json"
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = otherBoot(data, time.Time{}, false)
		r, err := decode(name, data)
		if err != nil {
			if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrNewer) {
				t.Errorf("error %v is neither ErrInvalid nor ErrNewer", err)
			}
			if diff := cmp.Diff(Record{}, r, cmp.AllowUnexported(policy.Layer{})); diff != "" {
				t.Errorf("record along with an error (-want +got):\n%s", diff)
			}
			return
		}
		again, err := encode(r)
		if err != nil {
			t.Fatalf("encode what was decoded: %v", err)
		}
		back, err := decode(name, again)
		if err != nil {
			t.Fatalf("decode what was encoded: %v", err)
		}
		if third, err := encode(back); err != nil || !bytes.Equal(again, third) {
			t.Errorf("encode, decode, encode (-want +got, %v):\n%s", err, cmp.Diff(string(again), string(third)))
		}
	})
}
