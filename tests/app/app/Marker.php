<?php

namespace App;

class Marker
{
    const RELEASE = 'r1';
}
