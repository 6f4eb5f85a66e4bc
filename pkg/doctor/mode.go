// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// judgeMode says what caps the mode on this node: as the reaper says, or where none was asked as the switch
// and the kernel let expect.
func judgeMode(r running, s switchFile, d destroy) []Finding {
	view, unasked := r.status.Mode, ""
	switch {
	case r.err == nil:
	case errors.Is(s.err, fs.ErrPermission): // to root, as which a reaper runs, it may say anything
		return []Finding{{
			Check: "mode", Level: Warn, What: "what caps the mode cannot be told: neither a reaper nor the switch is for this user to ask", Do: "run it as root",
		}}
	default:
		view = expected(s, d)
		unasked = " (what --mode may say is not known: no reaper was asked)"
	}
	caps := capsOf(view)
	if len(caps) == 0 {
		return []Finding{{Check: "mode", What: "nothing caps the mode: what each record says applies" + unasked}}
	}
	var by, lift []string
	for _, c := range caps {
		by, lift = append(by, c.by), append(lift, c.lift)
	}
	return []Finding{{
		Check: "mode", Level: Info, What: "nothing is destroyed on this node: " + strings.Join(by, "; ") + unasked,
		Do: "nothing, if that is meant to be; else " + strings.Join(lift, ", and "),
	}}
}

// expected is what a reaper without flags would say.
func expected(s switchFile, d destroy) api.ModeView {
	view := api.ModeView{Reaper: policy.Destroy}
	if s.set {
		view.Switch = &s.value
	}
	if s.err != nil {
		view.SwitchProblem = s.err.Error()
	}
	if errors.Is(d.err, inetdiag.ErrUnsupported) {
		view.KernelProblem = d.err.Error()
	}
	return view
}

// modeCap is one thing that keeps sockets from being destroyed, and how it is taken away.
type modeCap struct{ by, lift string }

func capsOf(v api.ModeView) []modeCap {
	var caps []modeCap
	for _, limit := range v.Caps(policy.Destroy) {
		switch limit {
		case api.CapReaper:
			caps = append(caps, modeCap{"the reaper's --mode is " + v.Reaper.String(), "start the reaper without --mode and HALFCLOSE_MODE"})
		case api.CapSwitch:
			caps = append(caps, modeCap{"the switch was set to " + v.Switch.Mode.String() + " by " + v.Switch.By(), "halfclose mode destroy"})
		case api.CapSwitchUnreadable:
			caps = append(caps, modeCap{"the switch cannot be read", "see to switch"})
		case api.CapKernel:
			caps = append(caps, modeCap{v.KernelProblem, "see to sock-destroy"})
		case api.CapNetns:
			caps = append(caps, modeCap{v.NetnsProblem, "do what netns-entry has"})
		}
	}
	return caps
}
