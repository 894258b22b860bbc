#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: s3_bucket
short_description: Make the Observer's S3 bucket and prove that it can be used
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - Makes an S3 bucket if it is missing, and proves that the given keys can put, get, list and delete an object in it.
  - It is the preflight that the role P(scs.observer.observer#role) runs before anything is deployed, because Thanos itself
    tells of a bucket that it cannot write to only hours later.
  - The proof is made with one object of a few bytes and a unique name under the prefix, which is deleted again whatever happens.
    In a versioned bucket its versions are deleted too, as far as the keys allow.
  - It talks S3 with Signature Version 4 and path-style addresses, which every S3 server understands. TLS is always verified.
options:
  endpoint:
    description:
      - URL of the S3 server, as V(https://host) or V(https://host:port), without a path.
    type: str
    required: true
  bucket:
    description:
      - Name of the bucket, 3 to 63 lowercase letters, digits, hyphens and dots.
    type: str
    required: true
  access_key:
    description:
      - The access key's id. It is a name, not a secret.
    type: str
    required: true
  secret_key:
    description:
      - The secret that belongs to O(access_key).
    type: str
    required: true
  ca_certificate:
    description:
      - Certificate of the authority that signed the server's certificate, as PEM text. Then no other authority is trusted.
      - Without it, those that boto3 trusts are trusted, or the ones in the file that the environment variable E(AWS_CA_BUNDLE) names.
    type: str
  prefix:
    description:
      - Path in the bucket under which all objects lie, without a slash at its ends. Empty means the whole bucket.
    type: str
    default: ""
  region:
    description:
      - Region of the bucket. Most servers that are not AWS want the default.
    type: str
    default: us-east-1
  create:
    description:
      - Whether a missing bucket is made. When V(false), a missing bucket is an error.
    type: bool
    default: true
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
    details:
      - In check mode neither a bucket nor an object is made. What reading can prove is proved, that is that the server is
        reachable and trusted, that the keys are right, and that the bucket can be listed or would be made.
  diff_mode:
    support: full
  platform:
    platforms: posix
requirements:
  - boto3 >= 1.35
notes:
  - A server that cannot be reached is given up on within 20 seconds.
  - The proxy variables of the environment, E(HTTPS_PROXY) and E(NO_PROXY), are respected. Files and profiles of the AWS command line are not read.
  - Works with the S3 API of 2006-03-01, as AWS, Ceph RGW, MinIO and versitygw serve it.
"""

EXAMPLES = r"""
- name: Make the bucket and prove that it can be used
  scs.observer.s3_bucket:
    endpoint: https://s3.example.com
    bucket: observer
    prefix: thanos
    access_key: "{{ observer_s3_access_key }}"
    secret_key: "{{ observer_s3_secret_key }}"

- name: Prove a bucket that somebody else has to make, on a server with a certificate of our own authority
  scs.observer.s3_bucket:
    endpoint: https://10.0.0.1:9000
    bucket: observer
    access_key: "{{ observer_s3_access_key }}"
    secret_key: "{{ observer_s3_secret_key }}"
    ca_certificate: "{{ lookup('ansible.builtin.file', 's3-ca.pem') }}"
    create: false
"""

RETURN = r"""
created:
  description: Whether the bucket was made, or in check mode, would be made.
  returned: success
  type: bool
  sample: true
proved:
  description:
    - The operations that were seen to work.
    - In check mode only V(list), and nothing when the bucket would be made.
  returned: success
  type: list
  elements: str
  sample: [put, get, list, delete]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._s3 import DEFAULT_REGION, Storage, prove


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "endpoint": {"type": "str", "required": True},
            "bucket": {"type": "str", "required": True},
            "access_key": {"type": "str", "required": True, "no_log": False},
            "secret_key": {"type": "str", "required": True, "no_log": True},
            "ca_certificate": {"type": "str"},
            "prefix": {"type": "str", "default": ""},
            "region": {"type": "str", "default": DEFAULT_REGION},
            "create": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    options = dict(module.params)
    create = options.pop("create")
    try:
        proof = prove(Storage(**options), create=create, check_mode=module.check_mode)
    except ObserverError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=proof.plan.changed,
        created=proof.created,
        proved=list(proof.proved),
        diff=proof.plan.diff(lambda endpoint: f"S3 bucket at {endpoint}\n"),
    )


if __name__ == "__main__":
    main()
