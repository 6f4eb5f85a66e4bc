// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/peer"
)

const (
	probeAfter = time.Second // what the containers ask for by annotation
	// finTimeout is the seconds for which web's kernel knows a connection that web has closed and app has not.
	finTimeout = "2"
	// computes is how long the server computes at least: several questions are asked in that time.
	computes = 5 * time.Second
)

// The connections whose peers are asked. app has both of their ends that look alike.
const (
	polite    = "polite"    // app is the client; the server web closes it as TLS says, and app reads nothing
	computing = "computing" // app is the server; the client web has shut its sending direction, and waits for the answer
)

// ask shows that the peer of a half-closed connection knows whether it is a leak.
func (d *demo) ask(ctx context.Context) error {
	if err := d.attachAsked(ctx); err != nil {
		return err
	}
	before, err := d.connectAsked()
	if err != nil {
		return err
	}
	if err := d.awaitAnswers(ctx); err != nil {
		return err
	}
	return d.afterAnswers(before)
}

// attachAsked makes the two containers.
func (d *demo) attachAsked(ctx context.Context) error {
	annotations := map[string]string{policy.AnnotationProbeAfter: probeAfter.String()}
	app, err := newContainer("app", annotations)
	if err != nil {
		return err
	}
	web, err := newContainer("web", annotations)
	if err != nil {
		return err
	}
	d.app, d.web = app, web
	d.sayf("Two more containers, app and web, with one policy: by annotation a peer is asked after %v (the network says %v).", probeAfter, d.policy.ProbeAfter)
	d.sayf("Their grace is the network's %v, so that only an answer can end a connection in this act.\n", d.policy.CloseWaitGrace)
	for _, c := range []*container{app, web} {
		if err := c.attach(ctx, d.cni, d.network); err != nil {
			return err
		}
		if err := c.start(c.name); err != nil {
			return err
		}
	}
	d.sayf("  web: tcp_fin_timeout %s in place of 30: its kernel forgets a connection that web has closed after %[1]s s", finTimeout)
	_, err = output(node.Command(web.runtime.NetNS, "sh", "-c", "echo "+finTimeout+" >/proc/sys/net/ipv4/tcp_fin_timeout"))
	if err != nil {
		return err
	}
	if _, err := web.process.Tell("tls"); err != nil {
		return err
	}
	return nstest.Retry(10*time.Second, func() error {
		s, err := d.reaper.Status(ctx)
		return errors.Join(err, want(len(d.containers()), s.Namespaces))
	})
}

// connectAsked makes the connections, and returns the options that app's end of computing has before it is asked about.
func (d *demo) connectAsked() (options string, err error) {
	if err := d.open(computing, "open", d.web, d.app); err != nil {
		return "", err
	}
	if err := d.open(polite, "openTLS", d.app, d.web); err != nil {
		return "", err
	}
	if options, err = d.app.process.Tell("options", computing); err != nil {
		return "", err
	}
	for _, step := range []struct {
		by                *container
		order, name, text string
	}{
		{d.web, "shut", computing, "web: has sent its request on computing: shutdown(computing, SHUT_WR), and waits for the answer"},
		{nil, "", "", "app: computes the answer, and sends nothing until it has it"},
		{nil, "", "", "app: has read its answer on polite, which is TLS, and keeps the connection for later: it reads nothing"},
		{d.web, "close", polite, "web: close(polite), as TLS says, with a close_notify before the FIN"},
	} {
		d.sayf("  %s", step.text)
		if step.by == nil {
			continue
		}
		if _, err := step.by.process.Tell(step.order, step.name); err != nil {
			return "", err
		}
	}
	d.sayf("")
	alike := nstest.Retry(5*time.Second, func() error {
		now, err := d.sockets()
		return errors.Join(err, now.is(polite, atClient, "CLOSE-WAIT"), now.is(computing, atServer, "CLOSE-WAIT"))
	})
	if err := d.showSockets(d.app); err != nil {
		return "", err
	}
	return options, d.check(claim{"polite and computing are CLOSE-WAIT at app, and idle: time does not show which of them is a leak", alike})
}

// awaitAnswers waits until one peer has answered that it is gone, and the other that it is there.
func (d *demo) awaitAnswers(ctx context.Context) error {
	d.sayf("\nAfter %v without a byte the reaper asks web's kernel about both, by keepalive probes on app's sockets. As long as web's", probeAfter)
	d.sayf("kernel knows a connection, the reaper asks again, each time after twice as long:\n")
	entries, err := d.follow(ctx, 3)
	if err != nil {
		return err
	}
	var views map[string]api.SocketView
	err = nstest.Retry(15*time.Second, func() (err error) {
		if views, err = d.views(ctx, api.SocketQuery{}); err != nil {
			return err
		}
		v := views[computing+atServer]
		if v.Age == nil || time.Duration(*v.Age) < computes {
			return fmt.Errorf("computing has not been half-closed for %v", computes)
		}
		return want(policy.PeerAlive, v.Verdict)
	})
	if err != nil {
		return err
	}
	d.sayf("")
	for _, command := range []string{"history", "sockets"} {
		if err := d.show(d.halfclose(command, "--pod", "demo/app")); err != nil {
			return err
		}
	}
	e := entries[2]
	now, err := d.sockets()
	return errors.Join(err, d.check(
		claim{
			"polite has ended at app: web's kernel answered with a reset, since web has closed the connection for good",
			errors.Join(want(api.PeerGone, e.Outcome), want("reset", e.How), want(inetdiag.CloseWait, e.State),
				want(d.connected[polite], e.Local), want(netip.AddrPortFrom(d.web.addr, peer.TLSPort), e.Peer),
				now.hasNot(polite, atClient), now.hasNot(polite, atServer)),
		},
		claim{
			fmt.Sprintf("computing lives after %v: web's kernel acknowledged, since web has only shut its sending direction", computes),
			errors.Join(want(policy.PeerAlive, views[computing+atServer].Verdict), now.is(computing, atServer, "CLOSE-WAIT"), now.is(computing, atClient, "FIN-WAIT-2")),
		},
	))
}

// afterAnswers shows what the applications notice.
func (d *demo) afterAnswers(before string) error {
	restored := nstest.Retry(5*time.Second, func() error { // unless the next question is out
		after, err := d.app.process.Tell("options", computing)
		return errors.Join(err, want(before, after))
	})
	claims := []claim{{"the options of app's socket of computing are as before the questions: " + before, restored}}
	d.sayf("\n  app: has computed, and sends the answer on computing\n")
	for _, step := range []struct {
		by                *container
		order, name, word string
		want, text        string
	}{
		{d.app, "send", computing, "42", "ok", ""},
		{d.web, "recv", computing, "", "42", "web: recv on computing gives the answer"},
		{d.app, "send", polite, "more", "EPIPE", "app: send on polite says EPIPE, as after any reset: what libraries retry"},
	} {
		got, err := step.by.process.Tell(step.order, step.name, step.word)
		if err != nil {
			return err
		}
		if step.text != "" {
			claims = append(claims, claim{step.text, want(step.want, got)})
		} else if err := want(step.want, got); err != nil {
			return err
		}
	}
	unread, err := d.app.process.Tell("drop", polite)
	if err != nil {
		return err
	}
	number, end, _ := strings.Cut(unread, ", then ")
	claims = append(claims, claim{"app: recv on polite gives the close_notify that was unread, " + number + ", and then EOF", want("EOF", end)})
	if number == "0 bytes" {
		return errors.New("recv on polite: the close_notify is lost")
	}
	for _, c := range []*container{d.app, d.web} {
		if _, err := c.process.Tell("close", computing); err != nil {
			return err
		}
	}
	return d.check(claims...)
}
