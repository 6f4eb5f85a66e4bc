// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	xterm "golang.org/x/term"
)

// leastInterval is how often the reaper is asked at most.
const leastInterval = 250 * time.Millisecond

func topCommand(e *env) *cobra.Command {
	interval := 2 * time.Second
	var sort string
	var once bool
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch who leaks half-closed sockets, on a full screen",
		Long: `Watch this node on a full screen: the pods with the most or the oldest half-closed
sockets first, the ages of all of them as a histogram, how many are destroyed a
second, what caps the mode and everything that is wrong.

A solid bar in the histogram is what is past its grace and still there: spared,
observed only, or waiting for the budget. AGES is the histogram of one pod.

  c, a, d          sort by count, age or number destroyed
  ↑ ↓ j k g G      move; page up and down, home and end too
  Enter, Esc       the sockets of a pod, with their owners; and back
  p or space       pause
  q                quit`,
		Example: `  halfclose top
  halfclose top --interval 500ms --sort age
  halfclose top --once    # one look, for a script or a bug report`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := top{interval: interval}
			if interval < leastInterval {
				return usageError{fmt.Errorf("--interval is a duration from %v on, not %v", leastInterval, interval)}
			}
			var words []string
			found := false
			for i, o := range topOrders() {
				words = append(words, o.word)
				if o.word == sort {
					t.order, found = topOrder(i), true
				}
			}
			if !found {
				return usageError{fmt.Errorf("--sort is one of %s, not %q", strings.Join(words, ", "), sort)}
			}
			if once {
				t.interval = 0
				return e.topOnce(cmd.Context(), t)
			}
			return e.topOn(cmd.Context(), t)
		},
	}
	cmd.Flags().DurationVar(&interval, "interval", interval, "how often to look, from 250ms on")
	cmd.Flags().StringVar(&sort, "sort", "count", "what comes first: count, age or destroyed")
	completeOneOf(cmd, "sort", "count", "age", "destroyed")
	cmd.Flags().BoolVar(&once, "once", false, "look once and print what there is to see, without a full screen")
	return cmd
}

// look makes the first look, which is to succeed.
func (e *env) look(ctx context.Context, t *top) (topSource, error) {
	client, err := e.client()
	if err != nil {
		return nil, err
	}
	h := topAsk(ctx, client, topQuestion{journal: true}, e.clock)
	if h.err == nil {
		t.hear(h)
	}
	return client, h.err
}

// topOnce prints one frame, however long it is.
func (e *env) topOnce(ctx context.Context, t top) error {
	if _, err := e.look(ctx, &t); err != nil {
		return err
	}
	s := e.screen()
	var b strings.Builder
	for _, l := range t.frame(s.Width, 0) {
		b.WriteString(l.plain())
		b.WriteByte('\n')
	}
	_, err := fmt.Fprint(e.out, b.String())
	return err
}

// topOn shows top on the terminal that this runs on.
func (e *env) topOn(ctx context.Context, t top) (err error) {
	out, ok := e.out.(*os.File)
	switch {
	case !ok || !xterm.IsTerminal(int(out.Fd())):
		return usageError{errors.New("stdout is not a terminal: use --once to print one look")}
	case !xterm.IsTerminal(int(os.Stdin.Fd())):
		return usageError{errors.New("stdin is not a terminal, so no key could end this: use --once to print one look")}
	case e.getenv("TERM") == "dumb":
		return usageError{errors.New("TERM is dumb, and a full screen needs a terminal that is not: use --once to print one look")}
	}
	client, err := e.look(ctx, &t)
	if err != nil {
		return err
	}
	terminal := newFullScreen(os.Stdin, out, e.screen().Colour)
	defer func() { err = errors.Join(err, terminal.close()) }()
	s := topSession{top: &t, term: terminal, src: client, now: e.clock, answers: make(chan topAnswer)}
	return s.run(ctx)
}
