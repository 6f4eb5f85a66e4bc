// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package register

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

// selector matches registrations with an argument of unregister.
type selector struct {
	arg   string
	exact bool // arg is a path: a registration of that path takes precedence
	paths []string
	ids   []netns.Identity // of the namespaces at the paths
	boot  string
}

// newSelector resolves arg as a name, a path and a process id.
func newSelector(arg, boot string) selector {
	w := selector{arg: arg, exact: IsPath(arg), boot: boot}
	if w.exact {
		path, err := filepath.Abs(arg)
		if err != nil {
			path = arg
		}
		w.paths = []string{path}
	} else {
		for _, dir := range hostfs.NetnsDirs() {
			w.paths = append(w.paths, filepath.Join(dir, arg))
		}
		if isPID(arg) {
			w.paths = append(w.paths, ProcPath(arg))
		}
	}
	for _, path := range w.paths {
		if id, err := netns.Identify(path); err == nil {
			w.ids = append(w.ids, id)
		}
	}
	return w
}

// matches reports whether arg can name a record.
func (w selector) matches(rec state.Record) bool {
	return rec.ContainerID == w.arg || rec.Manual() && rec.Pod.String() == w.arg || slices.Contains(w.paths, rec.Netns.Path) ||
		rec.Boot == w.boot && slices.ContainsFunc(w.ids, rec.Netns.Same)
}

// Find returns the only registration that arg, an argument of unregister, can name in this boot.
func Find(listing state.Listing, arg, boot string) (state.Record, error) {
	return find(listing, newSelector(arg, boot))
}

func find(listing state.Listing, w selector) (state.Record, error) {
	var manual, byCNI []state.Record
	for _, rec := range listing.Records {
		switch {
		case !rec.Manual() && w.matches(rec):
			byCNI = append(byCNI, rec)
		case rec.Manual() && w.exact && slices.Contains(w.paths, rec.Netns.Path):
			return rec, nil
		case rec.Manual() && w.matches(rec):
			manual = append(manual, rec)
		}
	}
	switch {
	case len(manual) == 1:
		return manual[0], nil
	case len(manual) > 1:
		return state.Record{}, cmdline.AsUsage(fmt.Errorf("%q matches several registrations: %s: use the path of one", w.arg, listRegistrations(manual)))
	}
	for _, p := range listing.Problems { // an unreadable record can be removed too
		if a, _, err := state.ParseFileName(p.File); err == nil && a == state.ManualAttachment(w.arg) {
			return state.Record{Attachment: a}, nil
		}
	}
	if len(byCNI) > 0 {
		return state.Record{}, errRecordedByCNI(w.arg, byCNI[0])
	}
	all := slices.DeleteFunc(slices.Clone(listing.Records), func(rec state.Record) bool { return !rec.Manual() })
	if len(all) == 0 {
		return state.Record{}, fmt.Errorf("%q is not registered, and neither is any other namespace", w.arg)
	}
	return state.Record{}, fmt.Errorf("%q is not registered; registered are %s", w.arg, listRegistrations(all))
}

// errRecordedByCNI is an error that explains how to spare a container whose record unregister does not remove.
func errRecordedByCNI(arg string, rec state.Record) error {
	pod := describe.Pod(rec.Pod, rec.ContainerID)
	return fmt.Errorf("CNI has recorded %q (%s), and its DEL removes the record: to spare its sockets, run \"halfclose mode observe --pod %s\" (destroys none, until \"mode destroy --pod\"), "+
		"or set {mode: off} for it in the policy file (does not even look)", arg, pod, pod)
}

// listRegistrations formats registrations in one line.
func listRegistrations(records []state.Record) string {
	const maxListed = 8
	var list []string
	for i, rec := range records {
		if i == maxListed {
			list = append(list, fmt.Sprintf("and %d more", len(records)-maxListed))
			break
		}
		list = append(list, rec.ContainerID+" ("+safetext.Escape(rec.Netns.Path)+")")
	}
	return strings.Join(list, ", ")
}
