// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
)

// skel passes only JSON objects to the verbs. Parsing any of them returns values or an error.
func FuzzConf(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.0.0","name":"n","prevResult":{"cniVersion":"1.0.0"},"runtimeConfig":null}`))
	f.Add([]byte(`{"runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"halfclose.cni/grace":1,"a":"b"}}}`))
	f.Add([]byte(`{"cni.dev/valid-attachments":[{"containerID":"c","ifname":"eth0"},null]}`))
	f.Add([]byte(`{"cni.dev/valid-attachments":[]}`))
	f.Fuzz(func(t *testing.T, stdin []byte) {
		c, err := parseConf(stdin)
		if err != nil {
			return
		}
		if result, err := c.result(); (result == nil) == (err == nil) {
			t.Errorf("result %v, error %v", result, err)
		}
		if a := c.annotations(); !a.Passed && len(a.Found) > 0 {
			t.Errorf("annotations %v, at hand %v, %d warnings", a.Found, a.Passed, len(a.Warnings))
		}
		keep, listed, err := c.validAttachments()
		if len(keep) > 0 && (!listed || err != nil) || listed && err != nil {
			t.Errorf("valid attachments %v, listed %v, error %v", keep, listed, err)
		}
		for _, a := range keep {
			if a.ContainerID == "" || a.IfName == "" {
				t.Errorf("attachment %+v has no name", a)
			}
		}
	})
}
