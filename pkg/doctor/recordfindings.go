// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/state"
)

// judgeRecords says what is wrong with what is recorded.
func judgeRecords(r records) []Finding {
	if r.err != nil {
		f := Finding{Check: "records", Level: Warn, What: r.err.Error(), Do: "see to state-dir first"}
		if errors.Is(r.err, fs.ErrPermission) {
			f.What, f.Do = "the records are for their owner alone: "+r.err.Error(), "run it as root"
		}
		return []Finding{f}
	}
	all := []Finding{{Check: "records", What: summary(r)}}
	add := func(level Level, list []recorded, what, do string) {
		if len(list) > 0 {
			all = append(all, Finding{
				Check: "records", Level: level, Do: do,
				What: fmt.Sprintf("%s %s: %s", count(len(list), "record"), what, few(list, recorded.name)),
			})
		}
	}
	if hiding := r.of(hidden); len(hiding) > 0 {
		m := mounts{root: r.root}
		add(Fail, hiding, "cannot be acted on, since "+hiding[0].Netns.Path+" is no namespace here but a plain file or the like: its mount is not seen",
			m.mountIt(dirOf(hiding[0].Netns.Path)))
	}
	if shut := r.of(closed); len(shut) > 0 {
		add(Warn, shut, fmt.Sprintf("cannot be acted on from here (%v)", shut[0].open), "see capabilities and pid-namespace; run it as root")
	}
	add(Warn, r.of(unreached), "of namespaces that live and that its path does not lead to any more: their other attachments are only observed",
		"unregister what was registered by hand, with a path that stays, such as one under /run/netns; or recreate the container")
	add(Info, r.of(gone, moved), "of namespaces that are gone", "nothing: a reaper prunes them after ten minutes")
	add(Info, r.of(otherBoot), "of an earlier boot", "nothing: a reaper prunes them after ten minutes")
	var warned []recorded
	for _, rec := range r.list {
		if len(rec.Warnings) > 0 {
			warned = append(warned, rec)
		}
	}
	if len(warned) > 0 {
		add(Warn, warned, fmt.Sprintf("with warnings, such as %q", warned[0].Warnings[0]),
			"correct the pod's annotation or the network's configuration that it names, and recreate the pod; halfclose status shows all of them")
	}
	if n := len(r.problems); n > 0 {
		what := fmt.Sprintf("%s no record (%v): %s", count(n, "file is", "files are"), r.problems[0].Err, few(r.problems, func(p state.Problem) string { return p.File }))
		if held := len(r.holds); held > 0 {
			what += "; " + count(held, "names a namespace, which is only observed", "name namespaces, which are only observed")
		}
		all = append(all, Finding{
			Check: "records", Level: Warn, What: what,
			Do: "upgrade this halfclose if a newer one wrote them; else delete those containers, which removes the files, and recreate them",
		})
	}
	return all
}

func summary(r records) string {
	good := len(r.usable())
	if len(r.list) == 0 {
		return "nothing is registered"
	}
	return fmt.Sprintf("%s, of which %d can be acted on from here", count(len(r.list), "attachment is registered", "attachments are registered"), good)
}

// name is the pod's, or the container's where there is no pod.
func (r recorded) name() string {
	if pod := r.Pod.String(); pod != "" {
		return pod
	}
	return r.ContainerID
}

// few names the first few.
func few[T any](list []T, name func(T) string) string {
	const most = 3
	var names []string
	for _, v := range list[:min(len(list), most)] {
		names = append(names, name(v))
	}
	text := strings.Join(names, ", ")
	if more := len(list) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// dirOf is the directory that has to be mounted for a path of a namespace to lead to it.
func dirOf(path string) string {
	for _, dir := range hostfs.NetnsDirs() {
		if below(path, dir) {
			return dir
		}
	}
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return path
}
