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
	probeAfter = time.Second // by annotation
	// finTimeout is the seconds after which web's kernel forgets a connection that web has closed and app has not.
	finTimeout = "2"
	// computes is the least time that the server computes: the reaper asks web's kernel several times in it.
	computes = 5 * time.Second
)

// The connections whose peers are asked. Their ends at app look alike.
const (
	polite    = "polite"    // app is the client; the server web closes it with a TLS close_notify, and app reads nothing
	computing = "computing" // app is the server; the client web has shut its sending direction, and waits for the answer
)

// ask shows that the kernel of the peer knows whether a half-closed connection is a leak.
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

// attachAsked creates the two containers.
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
	d.printf("Two more containers, app and web, with the same policy: by annotation, probeAfter is %v (the network has %v).", probeAfter, d.policy.ProbeAfter)
	d.printf("Their grace is the network's %v, so that in this act no grace expires: only the peer's answer can end a connection.\n", d.policy.CloseWaitGrace)
	for _, c := range []*container{app, web} {
		if err := c.attach(ctx, d.cni, d.network); err != nil {
			return err
		}
		if err := c.start(c.name); err != nil {
			return err
		}
	}
	d.printf("  web: tcp_fin_timeout is %s instead of 30: its kernel forgets a connection %[1]s s after web has closed it", finTimeout)
	_, err = output(node.Command(web.runtime.NetNS, "sh", "-c", "echo "+finTimeout+" >/proc/sys/net/ipv4/tcp_fin_timeout"))
	if err != nil {
		return err
	}
	if _, err := web.process.Order("tls"); err != nil {
		return err
	}
	return nstest.Retry(10*time.Second, func() error {
		s, err := d.reaper.Status(ctx)
		return errors.Join(err, want(len(d.containers()), s.Namespaces))
	})
}

// connectAsked opens the connections, and returns the socket options of app's end of computing before the first question.
func (d *demo) connectAsked() (options string, err error) {
	if err := d.open(computing, "open", d.web, d.app); err != nil {
		return "", err
	}
	if err := d.open(polite, "openTLS", d.app, d.web); err != nil {
		return "", err
	}
	if options, err = d.app.process.Order("options", computing); err != nil {
		return "", err
	}
	for _, step := range []struct {
		by                *container
		order, name, text string
	}{
		{d.web, "shut", computing, "web: sends its request on computing, calls shutdown(computing, SHUT_WR), and waits for the answer"},
		{nil, "", "", "app: computes the answer, and sends nothing until it is ready"},
		{nil, "", "", "app: has read the answer on polite, a TLS connection, and keeps the connection in a pool: it reads nothing more"},
		{d.web, "close", polite, "web: close(polite), with a TLS close_notify before the FIN"},
	} {
		d.printf("  %s", step.text)
		if step.by == nil {
			continue
		}
		if _, err := step.by.process.Order(step.order, step.name); err != nil {
			return "", err
		}
	}
	d.printf("")
	alike := nstest.Retry(5*time.Second, func() error {
		now, err := d.sockets()
		return errors.Join(err, now.is(polite, atClient, "CLOSE-WAIT"), now.is(computing, atServer, "CLOSE-WAIT"))
	})
	if err := d.showSockets(d.app); err != nil {
		return "", err
	}
	return options, d.check(claim{"polite and computing are both in CLOSE-WAIT at app, and idle: their idle times do not show which one is a leak", alike})
}

// awaitAnswers waits until one connection's peer is gone, and the other's has acknowledged.
func (d *demo) awaitAnswers(ctx context.Context) error {
	d.printf("\nAfter %v without a byte the reaper sends keepalive probes on app's sockets of both connections. If web's kernel still", probeAfter)
	d.printf("knows the connection, it acknowledges, and the reaper probes again after twice the time:\n")
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
	d.printf("")
	for _, command := range []string{"history", "sockets"} {
		if err := d.show(d.halfclose(command, "--pod", "demo/app")); err != nil {
			return err
		}
	}
	e := entries[2]
	now, err := d.sockets()
	return errors.Join(err, d.check(
		claim{
			"polite is gone at app: web has closed it completely, so web's kernel answered the probe with a reset",
			errors.Join(want(api.PeerGone, e.Outcome), want("reset", e.How), want(inetdiag.CloseWait, e.State),
				want(d.connected[polite], e.Local), want(netip.AddrPortFrom(d.web.addr, peer.TLSPort), e.Peer),
				now.hasNot(polite, atClient), now.hasNot(polite, atServer)),
		},
		claim{
			fmt.Sprintf("computing is kept after %v: web has only shut its sending direction, so web's kernel acknowledged the probe", computes),
			errors.Join(want(policy.PeerAlive, views[computing+atServer].Verdict), now.is(computing, atServer, "CLOSE-WAIT"), now.is(computing, atClient, "FIN-WAIT-2")),
		},
	))
}

// afterAnswers shows the effect on the applications.
func (d *demo) afterAnswers(before string) error {
	restored := nstest.Retry(5*time.Second, func() error { // the next question may be in progress
		after, err := d.app.process.Order("options", computing)
		return errors.Join(err, want(before, after))
	})
	claims := []claim{{"the socket options of app's end of computing are the same as before the probes: " + before, restored}}
	d.printf("\n  app: the answer is ready, and app sends it on computing\n")
	for _, step := range []struct {
		by                *container
		order, name, word string
		want, text        string
	}{
		{d.app, "send", computing, "42", "ok", ""},
		{d.web, "recv", computing, "", "42", "web: recv on computing returns the answer"},
		{d.app, "send", polite, "more", "EPIPE", "app: send on polite returns EPIPE, as after any reset: client libraries retry on a new connection"},
	} {
		got, err := step.by.process.Order(step.order, step.name, step.word)
		if err != nil {
			return err
		}
		if step.text != "" {
			claims = append(claims, claim{step.text, want(step.want, got)})
		} else if err := want(step.want, got); err != nil {
			return err
		}
	}
	unread, err := d.app.process.Order("drop", polite)
	if err != nil {
		return err
	}
	number, end, _ := strings.Cut(unread, ", then ")
	claims = append(claims, claim{"app: recv on polite returns the unread close_notify, " + number + ", and then EOF", want("EOF", end)})
	if number == "0 bytes" {
		return errors.New("recv on polite: the close_notify is lost")
	}
	for _, c := range []*container{d.app, d.web} {
		if _, err := c.process.Order("close", computing); err != nil {
			return err
		}
	}
	return d.check(claims...)
}
