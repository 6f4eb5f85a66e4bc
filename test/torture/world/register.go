// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/halfclose/halfclose/test/torture/model"
)

// object is a JSON object.
type object = map[string]any

// conf returns the plugin's configuration for a policy.
func conf(p model.Policy) object {
	c := object{
		"cniVersion": "1.0.0", "name": "torture", "type": "halfclose", "reaper": "external", "failurePolicy": "fail",
		"prevResult": object{"cniVersion": "1.0.0"},
		"mode":       mode(p.Mode), "probeAfter": patience(p.ProbeAfter), "probeCount": p.ProbeCount,
		"probeInterval":  patience(p.ProbeInterval),
		"closeWaitGrace": patience(p.CloseWaitGrace), "finWait2Grace": patience(p.FinWait2Grace),
		"pendingGrace": patience(p.PendingGrace),
	}
	if p.ByState {
		c["clock"] = "state"
	}
	var rules, exempt []object
	for _, r := range p.Rules {
		rule := object{"match": match(r.Match)}
		addLayer(rule, r.Layer)
		if r.Above > 0 {
			rule["above"] = r.Above
		}
		rules = append(rules, rule)
	}
	for _, m := range p.Exempt {
		exempt = append(exempt, match(m))
	}
	if len(rules) > 0 {
		c["rules"] = rules
	}
	if len(exempt) > 0 {
		c["exempt"] = exempt
	}
	return c
}

// addLayer adds the values of a layer.
func addLayer(o object, l model.Layer) {
	if l.Mode != nil {
		o["mode"] = mode(*l.Mode)
	}
	for key, value := range map[string]*time.Duration{
		"probeAfter": l.ProbeAfter, "closeWaitGrace": l.CloseWaitGrace, "finWait2Grace": l.FinWait2Grace, "pendingGrace": l.PendingGrace,
	} {
		if value != nil {
			o[key] = patience(*value)
		}
	}
	if l.ByState != nil && *l.ByState {
		o["clock"] = "state"
	}
}

func match(m model.Match) object {
	o := object{}
	switch m.State {
	case model.CloseWait:
		o["state"] = "CLOSE_WAIT"
	case model.FinWait2:
		o["state"] = "FIN_WAIT2"
	}
	switch m.Role {
	case model.Client:
		o["role"] = "client"
	case model.Server:
		o["role"] = "server"
	}
	if m.LocalPort != 0 {
		o["localPorts"] = strconv.Itoa(int(m.LocalPort))
	}
	if m.PeerPort != 0 {
		o["peerPorts"] = strconv.Itoa(int(m.PeerPort))
	}
	if m.Loopback {
		o["loopback"] = true
	}
	if m.Command != "" {
		o["commands"] = []string{m.Command}
	}
	return o
}

func mode(m model.Mode) string { return [...]string{"off", "observe", "destroy"}[m] }

func patience(d time.Duration) string {
	if d == model.Never {
		return "never"
	}
	return d.String()
}

// plugin calls the plugin as a runtime does.
func (w *World) plugin(ctx context.Context, command, container, ifname, netns string, config object) error {
	stdin, err := json.Marshal(config)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(w.cfg.Programs, "cni", "halfclose"))
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), w.cfg.Env...)
	cmd.Env = append(cmd.Env, "CNI_COMMAND="+command, "CNI_CONTAINERID="+container, "CNI_IFNAME="+ifname, "CNI_NETNS="+netns,
		"CNI_PATH="+filepath.Join(w.cfg.Programs, "cni"), "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=torture;K8S_POD_NAME="+container)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("plugin %s %s %s: %w: %s", command, container, ifname, err, out)
	}
	return nil
}
