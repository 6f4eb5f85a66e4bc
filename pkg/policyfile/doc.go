// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package policyfile reads the node's policy file, /etc/halfclose/policy.yaml, with which an operator changes the policies
// of running pods:
//
//	version: 1
//	defaults: {grace: 30m}       # every pod
//	podOverrides: relax          # how far annotations count: the stricter of this and the network's
//	pods:
//	  - name: payments           # shown as the source: policy.yaml:payments (line 5)
//	    match: {namespace: "payments-*", pod: "api-*"}
//	    set: {probeAfter: 5m}    # below the pod's annotations
//	  - match: {namespace: kube-system}
//	    enforce: {mode: observe} # above them
//
// Parse is pure: it returns the file, or all mistakes in it with their lines and columns. File.Layers returns the layers
// for one attachment. Follower reads the file again when it changes, and keeps the last good one in force while the file is
// wrong, also over a restart.
//
// The CNI plugin does not link this package: a policy file changes nothing about a pod's record.
package policyfile
