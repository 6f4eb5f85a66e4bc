// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/cluster/fleet"
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/printer"
)

func explainCommand(e *env) *cobra.Command {
	limit := 5
	cmd := &cobra.Command{
		Use:   "explain NAMESPACE/POD|ADDRESS",
		Short: "Explain what happens to the sockets of a pod or an address",
		Long: `Explain what happens to the half-closed sockets of a pod, or to the sockets that
have an address, as "halfclose explain" does on a node. A pod that exists is
explained by its node; all nodes are asked for an address, and for a pod that no
longer exists.`,
		Example: `  kubectl halfclose explain shop/web-1
  kubectl halfclose explain web-1 -n shop -o json | jq '.explanations[].sockets[].why'
  kubectl halfclose explain 10.0.0.7:443`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completePods,
		RunE:              func(cmd *cobra.Command, args []string) error { return e.explain(cmd.Context(), args[0], limit) },
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "at most `N` sockets and `N` entries of the history of each node; 0 is all")
	e.tableFlags(cmd)
	return cmd
}

// explained is the explanation of one node.
type explained struct {
	printer.Explanation
	raw json.RawMessage
}

func readExplained(_ fleet.Agent, r io.Reader) (x explained, err error) {
	rest, err := fleet.ReadObject(r, "", nil)
	if err != nil {
		return x, err
	}
	if x.raw, err = json.Marshal(rest); err == nil {
		err = json.Unmarshal(x.raw, &x.Explanation)
	}
	return x, err
}

func (x *explained) isEmpty() bool {
	return len(x.Sockets) == 0 && len(x.History) == 0 && len(x.Policies) == 0
}

func (e *env) explain(ctx context.Context, what string, limit int) error {
	if limit < 0 {
		return cmdline.AsUsage(fmt.Errorf("--limit %d: want a number of at least 0", limit))
	}
	_, notPeer := api.ParsePeer(what)
	isAddress := notPeer == nil
	q := api.PodQuery{Namespace: e.namespace()}
	if isAddress {
		if _, err := api.ParseEnd(what); err != nil {
			return cmdline.AsUsage(fmt.Errorf("%s is a range: want a pod, or one address such as 10.0.0.7 or 10.0.0.7:443", what))
		}
	} else {
		e.pod = what
		var err error
		if q, err = e.pods(); err != nil {
			return cmdline.AsUsage(errors.New(strings.TrimPrefix(err.Error(), "--pod ")))
		}
		what = q.Pod
	}
	of, err := e.discover(ctx, q)
	if err != nil {
		return err
	}
	command := []string{"explain", "--output=json", "--limit=" + strconv.Itoa(limit)}
	if isAddress {
		command = append(command, podArgs(q)...)
	}
	answers, err := ask(ctx, e, of, append(command, what), readExplained)
	if err != nil {
		return err
	}
	found := []nodeItem[explained]{}
	for i := range answers {
		a := &answers[i]
		if a.Failure == nil && !a.Value.isEmpty() {
			found = append(found, nodeItem[explained]{a.Node, a.Value.raw, a.Value})
		}
	}
	views := nodesOf[explained](of, answers, nil)
	if e.printer.PrintsObject() {
		err = e.printer.PrintObject(struct {
			Explanations []nodeItem[explained] `json:"explanations"`
			Nodes        []nodeView            `json:"nodes"`
		}{found, views})
	} else {
		p := e.printer
		p.Nodes = false // each node has a heading
		for i := range found {
			if i > 0 {
				fmt.Fprintln(p.Out)
			}
			fmt.Fprintln(p.Out, "Node "+safetext.Escape(found[i].node))
			err = errors.Join(err, p.PrintExplanation(&found[i].value.Explanation, isAddress))
		}
	}
	if err != nil {
		return err
	}
	if err := e.finish(of, views); err != nil || len(found) > 0 {
		return err
	}
	return fmt.Errorf("no node knows of %s: no half-closed socket of a registered pod has it, and no history", what)
}
