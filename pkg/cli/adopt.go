// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/adopt"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/term"
)

// adoption is the result of adopt.
type adoption struct {
	Entries []adopt.Entry `json:"entries"`
	api.AdoptionView
}

// noteNothingRegistered prints why nothing is registered, and what to do next. Every command whose empty output could be
// taken for "no leaks" calls it.
func (e *env) noteNothingRegistered(s api.Status) { e.note("%v", nothingRegistered(s)) }

// nothingRegistered is the error of a command that needs an attachment where there is none.
func nothingRegistered(s api.Status) error {
	what, todo := describe.NothingRegistered(s.Adoption)
	return fmt.Errorf("%s: %s", what, todo)
}

// unknownPod is the error of a query that covers none of the attachments.
func unknownPod(q api.PodQuery, s api.Status) error {
	if len(s.Attachments) == 0 {
		return nothingRegistered(s)
	}
	return noSuchPod(q)
}

func adoptCommand(e *env) *cobra.Command {
	var dryRun bool
	cfg := adopt.Config{NetnsDirs: hostfs.NetnsDirs()}
	cmd := &cobra.Command{
		Use:   "adopt",
		Short: "Register the containers that were running before",
		Long: `Register the containers of CNI that were running before halfclose was on the
node. The reaper does so on its own, unless it runs with --adopt=false.

libcni keeps each attachment in its result cache. An entry is adopted if it has
no record yet, was written in this boot, its network's configuration lists
halfclose now, and the interface in its network namespace has an address or the
MAC of the entry. The policy is that of the network's configuration now, with
the pod's annotations. A restart of the container is not needed.

The command lists the adopted entries, and the other ones with the reason. With
--dry-run it writes nothing.`,
		Example: `  halfclose adopt --dry-run    # what would be adopted, and what not and why
  halfclose adopt
  halfclose adopt -o json | jq '.entries[] | select(.reason == "unproven")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := e.checkStateDir(); err != nil {
				return err
			}
			cfg.Enabled = !dryRun
			return e.adopt(cmd.Context(), cfg)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&dryRun, "dry-run", false, "write nothing, and show what would be adopted")
	flags.StringVar(&cfg.HostRoot, "host-root", e.Getenv("HALFCLOSE_HOST_ROOT"), "`dir` where the host's root is mounted in this container (HALFCLOSE_HOST_ROOT)")
	flags.StringSliceVar(&cfg.CacheDirs, "cni-cache", e.list("HALFCLOSE_CNI_CACHE", adopt.CacheDirs()), "`dir` of libcni's cache, on the host; repeatable (HALFCLOSE_CNI_CACHE)")
	flags.StringSliceVar(&cfg.ConfDirs, "cni-conf-dir", e.list("HALFCLOSE_CNI_CONF_DIR", adopt.ConfDirs()), "`dir` of network configurations, on the host; repeatable (HALFCLOSE_CNI_CONF_DIR)")
	_ = cobra.MarkFlagDirname(flags, "cni-cache") // the flag exists
	e.tableFlags(cmd)
	return cmd
}

// list returns the list in an environment variable, usual if it is not set.
func (e *env) list(name string, usual []string) []string {
	if value := e.Getenv(name); value != "" {
		return strings.Split(value, ",")
	}
	return usual
}

func (e *env) adopt(ctx context.Context, cfg adopt.Config) error {
	root, err := netns.NewRoot(cfg.HostRoot)
	if err != nil {
		return err
	}
	defer root.Close()
	clock, err := monotime.System()
	if err != nil {
		return err
	}
	cfg.Root, cfg.Clock, cfg.Store, cfg.Log = root, clock, e.store(), slog.New(slog.DiscardHandler) // the result has it all
	a, err := adopt.New(cfg)
	if err != nil {
		return err
	}
	r := a.Pass(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.PrintsObject() {
		all := adoption{Entries: r.Entries, AdoptionView: r.View}
		if all.Entries == nil {
			all.Entries = []adopt.Entry{} // never null
		}
		err = e.PrintObject(all)
	} else {
		err = e.printAdoption(r, !cfg.Enabled)
	}
	switch {
	case err != nil:
		return err
	case r.Err != nil:
		return fmt.Errorf("the result is incomplete: %w", r.Err)
	}
	if cfg.Enabled && r.View.Adopted > 0 && !launch.Running(e.store().SocketPath()) {
		e.note("note: no reaper is running: \"halfclose reaper\" starts one")
	}
	return nil
}

// printAdoption prints the entries that are not registered, and the sums.
func (e *env) printAdoption(r adopt.Result, dryRun bool) error {
	t := e.NewTable(term.Column{Name: "POD"}, term.Column{Name: "IFNAME"}, term.Column{Name: "NETWORK"},
		term.Column{Name: "RESULT"}, term.Column{Name: "WHY", Fold: 1, Lead: ": "})
	wide := e.Format == printer.Wide
	adopted := 0
	for _, entry := range r.Entries {
		result := "adopted"
		switch {
		case entry.Adopted:
			adopted++
		case entry.Reason == "":
			result = "would adopt"
		case entry.Reason == api.AdoptRegistered && !wide:
			continue
		default:
			result = string(entry.Reason)
		}
		name := describe.Pod(entry.Pod, entry.ContainerID)
		if entry.ContainerID == "" { // no name can be read
			name = entry.File
		}
		t.Row(name, orNone(entry.IfName), orNone(entry.Network), result, orNone(entry.Why))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	text := fmt.Sprintf("%s adopted", describe.Plural(adopted, "container", "containers"))
	if dryRun {
		text = fmt.Sprintf("%s would be adopted", describe.Plural(r.View.Adoptable, "container", "containers"))
	}
	if n := r.View.Skipped[api.AdoptRegistered]; n > 0 {
		text += fmt.Sprintf(", %d registered before", n)
	}
	if n := r.View.Unregistered; n > 0 {
		text += fmt.Sprintf(". %s not registered, such as %s", describe.Plural(n, "named network namespace is", "named network namespaces are"), r.View.UnregisteredPaths[0])
	}
	_, err := fmt.Fprintln(e.Out, term.Fill(e.Screen().Width, "", "", safetext.Escape(text+".")))
	return err
}

func orNone(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
