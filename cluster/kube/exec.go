// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"io"
	"net/http"

	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"

	"github.com/halfclose/halfclose/cluster/fleet"
)

// Exec implements fleet.Executor. It uses WebSocket, or SPDY if the server or a proxy knows no WebSocket, as kubectl does.
func (c *Cluster) Exec(ctx context.Context, a fleet.Agent, args []string, stdout, stderr io.Writer) error {
	at := c.execURL(a, args)
	spdy, err := remotecommand.NewSPDYExecutor(c.config, http.MethodPost, at)
	if err != nil {
		return err
	}
	websocket, err := remotecommand.NewWebSocketExecutor(c.config, http.MethodGet, at.String())
	if err != nil {
		return err
	}
	executor, err := remotecommand.NewFallbackExecutor(websocket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return err
	}
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: stdout, Stderr: stderr})
	if exit, ok := errors.AsType[exec.ExitError](err); ok && exit.Exited() {
		return &fleet.ExitError{Code: exit.ExitStatus()}
	}
	if err != nil {
		return failureOf(err)
	}
	return nil
}
