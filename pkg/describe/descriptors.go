// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/state"
)

// Held says how many of its ended sockets a process still holds: "48 of 50 ended sockets are still held by java[812] of
// shop/web-1".
func Held(h *api.DescriptorHolder) string {
	verb := map[bool]string{true: "is", false: "are"}[h.Held == 1]
	return fmt.Sprintf("%d of %s %s still held by %s%s",
		h.Held, Plural(h.Ended, "ended socket", "ended sockets"), verb, h.Process, ofPod(h.Pod))
}

func ofPod(p state.Pod) string {
	if p.Name == "" {
		return ""
	}
	return " of " + p.String()
}

// maxHolderFindings is the number of processes with a finding of their own.
const maxHolderFindings = 3

func descriptorFindings(v *api.DescriptorsView) []Finding {
	var list []Finding
	held := 0
	for i := range v.Holders {
		if i < maxHolderFindings {
			list = append(list, Finding{Kind: DescriptorsHeld, Holder: &v.Holders[i]})
		} else {
			held += v.Holders[i].Held
		}
	}
	if n := len(v.Holders) - maxHolderFindings; n > 0 {
		list = append(list, Finding{Kind: MoreDescriptorsHeld, Count: uint64(n), Text: strconv.Itoa(held)})
	}
	for i := range v.NearLimit {
		if i < maxHolderFindings {
			list = append(list, Finding{Kind: NearFileLimit, Files: &v.NearLimit[i]})
		}
	}
	return list
}

// unwritableFindings lists the files that cannot be written. A file in a directory that cannot be written has no finding of its
// own.
func unwritableFindings(all []api.UnwritableView) []Finding {
	var list []Finding
	dirs := make(map[string]bool)
	for _, u := range all {
		switch u.Name {
		case api.UnwritableAttachments:
			dirs[filepath.Dir(u.Path)] = true
		case api.UnwritablePersistent:
			dirs[u.Path] = true
		}
	}
	for i, u := range all {
		isDir := u.Name == api.UnwritableAttachments || u.Name == api.UnwritablePersistent
		if isDir || !dirs[filepath.Dir(u.Path)] {
			list = append(list, Finding{Kind: Unwritable, Unwritable: &all[i], Text: u.Problem})
		}
	}
	return list
}

// unwritableTodo returns what the failure costs, and what to do.
func unwritableTodo(u *api.UnwritableView) string {
	const room = ` (a full or read-only file system: "df" and "df -i" show it)`
	switch u.Name {
	case api.UnwritableAttachments:
		return "until " + u.Path + " can be written, pods are created without a record, and their sockets are left alone" + room
	case api.UnwritablePersistent:
		return "until " + u.Path + " can be written, neither a mode switch nor the history is kept" + room
	case api.UnwritableCandidates:
		return "until it can be written, idle times start again after a restart of the reaper" + room
	case api.UnwritableAsked:
		return "until it can be written, no peer is asked, and only the graces count" + room
	case api.UnwritableDescriptors:
		return "until it can be written, a restart of the reaper forgets which descriptors are held" + room
	case api.UnwritableSwitch:
		return "a mode switch is in force that a restart of the reaper loses: set it again once the file can be written" + room
	case api.UnwritableHistory:
		return "until it can be written, the history has gaps" + room
	case api.UnwritableIdleTimes:
		return "until it can be written, \"halfclose simulate\" lacks the idle times" + room
	case api.UnwritablePolicy:
		return "until it can be written, a restart of the reaper with a wrong policy file only observes" + room
	}
	return "make " + u.Path + " writable" + room
}
